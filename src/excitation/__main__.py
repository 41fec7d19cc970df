"""`python -m excitation` is the program `excitation`."""

from .cli import main

if __name__ == "__main__":
    main()
