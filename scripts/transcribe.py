"""Write down what is said: `visionrnn transcribe`."""

from visionrnn.cli import main

if __name__ == "__main__":
    main("transcribe")
