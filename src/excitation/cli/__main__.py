"""`python -m excitation.cli` is the program `excitation`."""

from . import main

if __name__ == "__main__":
    main()
