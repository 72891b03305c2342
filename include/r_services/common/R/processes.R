# Limits on the processes beside the server.

# Seconds between two looks at the memory of a process; a look takes milliseconds, in which nobody is answered.
memory_interval <- 0.5

# What a process with all it started holds in memory, in bytes. A process that ends meanwhile counts nothing.
tree_memory <- function(pid) {
  or <- function(value, otherwise) tryCatch(value, error = function(error) otherwise)
  root <- or(ps::ps_handle(pid), NULL)
  if (is.null(root)) return(0)
  # Listing them fails where any process of the machine ends meanwhile.
  children <- or(ps::ps_children(root, recursive = TRUE), list())
  sum(vapply(c(list(root), children), function(handle) or(ps::ps_memory_info(handle)[["rss"]], 0), 0))
}

# Child processes have one core each, and the locale and time zone of the images: names sort alike on every machine.
child_environment <- function() {
  c(
    callr::rcmd_safe_env(),
    OMP_NUM_THREADS = "1", OPENBLAS_NUM_THREADS = "1", MKL_NUM_THREADS = "1",
    TZ = "UTC", LC_ALL = "C.UTF-8", LANGUAGE = "en"
  )
}
