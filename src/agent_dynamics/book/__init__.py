"""What chapters need to be a book: claims, exercises, figures, glued numbers."""
