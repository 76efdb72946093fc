"""Pictures of events: cutting and encoding them, and the folder where they are kept."""
