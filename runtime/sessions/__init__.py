"""Live sessions as they were seen by the engine: recorded beside it, and fed to it again."""
