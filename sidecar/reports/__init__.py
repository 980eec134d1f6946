"""HTML reports: pages and plots of the domain's reports."""
