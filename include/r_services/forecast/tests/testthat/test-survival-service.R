survival_rule <- function() Filter(function(one) one$path == "/survival/fit", endpoints())[[1]]

test_that("the endpoint answers what the function returns", {
  rows <- simulate_landmarks(80)
  scored <- rows[1:3, ]
  body <- irtcommon::answer(survival_rule(), survival_body(rows, scored))
  expect_equal(body$status, "success")
  direct <- fit_survival(rows, scored)
  expect_equal(body$data$risk, as.numeric(direct$risk), tolerance = 1e-12)
  expect_equal(body$data$covariates$coefficient, direct$covariates$coefficient, tolerance = 1e-12)
  expect_equal(body$data$dropped, list(name = "r_t", reason = "not recorded"))
  expect_equal(body$data$warnings, list())
  one <- irtcommon::answer(survival_rule(), survival_body(rows, scored[1, ], ridge = 10, horizon_days = 7))
  expect_equal(one$data$horizon_days, 7)
  expect_equal(one$data$risk, as.numeric(fit_survival(rows, scored[1, ], 7, 10)$risk), tolerance = 1e-12)
  none <- irtcommon::answer(survival_rule(), survival_body(rows, scored[0, ]))
  expect_length(none$data$risk, 0)
})

test_that("what cannot be is refused by its field's name", {
  rows <- simulate_landmarks(20)
  refused <- function(rows, ...) {
    errors <- irtcommon::answer(survival_rule(), survival_body(rows, rows[1:2, ], ...))$errors
    vapply(errors, function(error) paste(error$code, error$detail), "")
  }
  expect_match(refused(transform(rows, landmark = 0L)), "invalid_field landmark: element 1 is 0")
  expect_match(refused(transform(rows, time = -1)), "invalid_field time")
  expect_match(refused(transform(rows, event = 2L)), "invalid_field event")
  expect_match(refused(rows, ridge = -1), "invalid_field ridge")
  expect_match(refused(rows[1:3, ]), "not_enough_data")
})

test_that("a running service fits over HTTP and lets no one in without its token", {
  port <- httpuv::randomPort()
  token <- "a-token-of-the-tests-only"
  service <- processx::process$new(
    file.path(R.home("bin"), "Rscript"), c("-e", "irtforecast::serve()"),
    env = c("current", R_SERVICE_TOKEN = token, PORT = port, R_LIBS = paste(.libPaths(), collapse = ":")),
    cleanup_tree = TRUE, stdout = NULL, stderr = NULL
  )
  withr::defer(service$kill_tree())
  url <- function(path) sprintf("http://127.0.0.1:%d%s", port, path)
  ask <- function(path, token = NULL, body = NULL) {
    handle <- curl::new_handle()
    headers <- list("Content-Type" = "application/json")
    if (!is.null(token)) headers$Authorization <- paste("Bearer", token)
    curl::handle_setheaders(handle, .list = headers)
    if (!is.null(body)) curl::handle_setopt(handle, copypostfields = as.character(body))
    answer <- curl::curl_fetch_memory(url(path), handle)
    list(code = answer$status_code, body = jsonlite::fromJSON(rawToChar(answer$content), simplifyDataFrame = FALSE))
  }
  for (try in 1:300) {
    up <- tryCatch(ask("/ready")$code == 200, error = function(error) FALSE)
    if (up) break
    Sys.sleep(0.1)
  }
  expect_true(up)
  rows <- simulate_landmarks(80)
  body <- survival_body(rows, rows[1:3, ])
  expect_equal(ask("/survival/fit", body = body)$code, 401)
  expect_equal(ask("/survival/fit", "another-token-of-tests", body)$code, 401)
  accepted <- ask("/survival/fit", token, body)
  expect_equal(accepted$code, 202)
  for (try in 1:600) {
    job <- ask(paste0("/jobs/", accepted$body$data$job_id), token)$body$data
    if (!job$state %in% c("queued", "running")) break
    Sys.sleep(0.1)
  }
  expect_equal(job$state, "succeeded")
  expect_equal(job$result$risk, as.numeric(fit_survival(rows, rows[1:3, ])$risk), tolerance = 1e-12)
})
