"""What becomes of an event before it is counted: plate lists, dropping, pseudonyms."""
