"""A world of word problems in plain English, solved line by line, with an exact checker of every line."""
