"""What is in annotation files and videos, before anybody pays for anything."""
