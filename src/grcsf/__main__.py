"""``python -m grcsf``."""

from grcsf.cli import main

if __name__ == "__main__":
    main()
