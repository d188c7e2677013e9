"""A stand-in of Spotify's Web API, as an app without a user sees it."""
