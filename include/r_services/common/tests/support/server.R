# For the tests of the services: a running one, the function that calls it, and the end of a job.

start_service <- function(serve, env = character()) {
  port <- httpuv::randomPort()
  token <- "token-of-the-server-test"
  log <- tempfile()
  server <- callr::r_bg(serve,
    env = c(R_SERVICE_TOKEN = token, PORT = port, PATH = "/usr/bin:/bin", env), stdout = log, stderr = "2>&1"
  )
  call <- function(path, body = NULL, authorised = TRUE) {
    handle <- curl::new_handle()
    headers <- c("Content-Type" = "application/json", if (authorised) c(Authorization = paste("Bearer", token)))
    curl::handle_setheaders(handle, .list = as.list(headers))
    if (!is.null(body)) curl::handle_setopt(handle, copypostfields = body)
    url <- sprintf("http://127.0.0.1:%d%s", port, path)
    answer <- tryCatch(curl::curl_fetch_memory(url, handle), error = function(error) NULL)
    if (is.null(answer)) {
      return(list(status = 0L))
    }
    content <- jsonlite::fromJSON(rawToChar(answer$content), simplifyDataFrame = FALSE)
    list(status = answer$status_code, data = content$data, errors = content$errors)
  }
  for (i in 1:600) {
    if (call("/ready")$status == 200) break
    if (!server$is_alive()) stop(paste(readLines(log), collapse = "\n"))
    Sys.sleep(0.2)
  }
  list(server = server, call = call)
}

finish <- function(call, id) {
  for (i in 1:1500) {
    job <- call(paste0("/jobs/", id))$data
    if (job$state %in% c("succeeded", "failed")) break
    Sys.sleep(0.2)
  }
  job
}
