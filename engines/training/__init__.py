"""How the built-in models were made: renderer, training, export, evaluation."""
