# One JSON object a line on standard error. Never a query string, a header or a body: secrets and answers travel there.
log_event <- function(event, ...) {
  line <- c(list(time = format(Sys.time(), "%Y-%m-%dT%H:%M:%OS3Z", tz = "UTC"), event = event), list(...))
  cat(write_json(Filter(Negate(is.null), line), "log"), "\n", sep = "", file = stderr())
}
