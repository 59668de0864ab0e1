"""What every room uses: names, settings in range, random arrays, sets by class."""
