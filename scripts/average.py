"""Average the weights of models: `visionrnn average`."""

from visionrnn.cli import main

if __name__ == "__main__":
    main("average")
