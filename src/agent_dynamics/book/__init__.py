"""What chapters need to be a book: claims, exercises, figures and numbers in the prose."""
