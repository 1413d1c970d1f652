"""A whole appliance, emulated: an arm64 Debian that installs the package and is set up, used and cut off."""
