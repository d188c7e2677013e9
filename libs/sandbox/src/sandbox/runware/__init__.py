"""The stand-in of Runware: videos by its REST interface."""
