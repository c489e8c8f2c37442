"""What an environment needs in Azure, and how it is made."""
