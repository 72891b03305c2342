test_that("the running service fits over HTTP, without compiling, and lets nobody in without the token", {
  skip_if_not_installed("curl")
  skip_if_not_installed("callr")
  model <- compiled_model()
  compiled_at <- file.mtime(model)
  port <- httpuv::randomPort()
  token <- "token-of-the-server-test"
  log <- tempfile()
  server <- callr::r_bg(
    function() irtbrms::serve(),
    env = c(R_SERVICE_TOKEN = token, PORT = port, STAN_MODELS = dirname(model), PATH = "/usr/bin:/bin"),
    stdout = log, stderr = "2>&1"
  )
  on.exit(server$kill_tree())
  url <- sprintf("http://127.0.0.1:%d", port)
  call <- function(path, body = NULL, token = NULL) {
    handle <- curl::new_handle()
    headers <- c("Content-Type" = "application/json", if (!is.null(token)) c(Authorization = paste("Bearer", token)))
    curl::handle_setheaders(handle, .list = as.list(headers))
    if (!is.null(body)) curl::handle_setopt(handle, copypostfields = body)
    answer <- tryCatch(curl::curl_fetch_memory(paste0(url, path), handle), error = function(error) NULL)
    if (is.null(answer)) return(list(status = 0))
    content <- jsonlite::fromJSON(rawToChar(answer$content), simplifyDataFrame = FALSE)
    list(status = answer$status_code, data = content$data, errors = content$errors)
  }
  for (i in 1:600) {
    if (call("/ready")$status == 200) break
    if (!server$is_alive()) stop(paste(readLines(log), collapse = "\n"))
    Sys.sleep(0.2)
  }
  body <- as_request(simulate_rows(learners = 40), seed = 5, warmup = 300, draws = 500)
  expect_identical(call("/growth/fit", body)$status, 401L)
  accepted <- call("/growth/fit", body, token)
  expect_identical(accepted$status, 202L)
  for (i in 1:1500) {
    job <- call(paste0("/jobs/", accepted$data$job_id), token = token)$data
    if (job$state %in% c("succeeded", "failed")) break
    Sys.sleep(0.2)
  }
  expect_identical(job$state, "succeeded", info = paste(job$error))
  sent <- as.data.frame(jsonlite::fromJSON(body)[c("student", "week", "y", "v")])
  expected <- fit_growth(sent, model, seed = 5, warmup = 300, draws = 500) |> suppressWarnings()
  expect_identical(job$result$draws$slope, expected$draws$slope)
  expect_identical(file.mtime(model), compiled_at)
})
