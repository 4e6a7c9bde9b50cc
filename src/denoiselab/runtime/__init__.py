"""What every package uses: files, paths, seeds, devices, processes."""
