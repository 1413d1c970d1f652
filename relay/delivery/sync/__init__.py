"""The answer to an app's long poll, section by section."""
