"""What ``erprm quickstart`` writes into its folder: stand-ins for a user's own data and models, and configurations."""
