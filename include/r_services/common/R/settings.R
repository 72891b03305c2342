#' What the environment says about a service
#'
#' @return A list of settings; the token only as its digest.
#' @noRd
read_settings <- function() {
  token <- Sys.getenv("R_SERVICE_TOKEN")
  if (nchar(token) < 16) {
    stop("R_SERVICE_TOKEN is ", if (nzchar(token)) "too short" else "not set",
         ": the service starts only with a token of at least 16 characters", call. = FALSE)
  }
  # Neither jobs nor what they call need it.
  Sys.unsetenv("R_SERVICE_TOKEN")
  list(
    token_digest = token_digest(token),
    host = Sys.getenv("HOST", "127.0.0.1"),
    port = whole_setting("PORT", 8000, at_most = 65535),
    workers = whole_setting("WORKERS", 1),
    queue_length = whole_setting("QUEUE_LENGTH", 16),
    job_seconds = whole_setting("JOB_SECONDS", 3600),
    job_memory = whole_setting("JOB_MEMORY_MB", 4096) * 2^20,
    # Of a direct endpoint, and of reading and checking any body.
    answer_seconds = whole_setting("ANSWER_SECONDS", 60),
    body_bytes = whole_setting("BODY_MB", 64) * 2^20,
    unpacked_bytes = whole_setting("UNPACKED_MB", 256) * 2^20,
    result_seconds = whole_setting("RESULT_SECONDS", 3600),
    result_count = whole_setting("RESULT_COUNT", 100),
    drain_seconds = whole_setting("DRAIN_SECONDS", 20),
    drain_file = Sys.getenv("DRAIN_FILE")
  )
}

whole_setting <- function(name, default, at_most = 1e9) {
  text <- Sys.getenv(name, default)
  value <- suppressWarnings(as.numeric(text))
  if (is.na(value) || value != round(value) || value < 1 || value > at_most) {
    stop(sprintf("%s=%s: expected a whole number from 1 to %.0f", name, text, at_most), call. = FALSE)
  }
  value
}
