"""Looks at everything that a running daemon needs, and says what is wrong and how to mend it."""
