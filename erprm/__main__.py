"""Run the command line as ``python -m erprm``."""

from erprm.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
