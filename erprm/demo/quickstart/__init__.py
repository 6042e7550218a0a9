"""The folder of ``erprm quickstart``: stand-ins for a user's own data and models, and configurations to edit."""
