"""Many images: a callable for data engines, and jobs that write Parquet parts and resume."""
