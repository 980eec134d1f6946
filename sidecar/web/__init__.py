"""HTTP clients (httpx2) and server (h11); no other package imports these two libraries."""
