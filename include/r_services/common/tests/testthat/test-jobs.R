settings <- list(
  workers = 1, queue_length = 2, job_seconds = 60, job_memory = 2^31, result_seconds = 60, result_count = 10
)

sum_of <- endpoint("POST", "/sum/fit", function(input, progress) list(sum = sum(input$x)))

new_folder <- function(x = 1) {
  folder <- tempfile("job")
  dir.create(folder)
  saveRDS(list(x = x), file.path(folder, "input.rds"))
  folder
}

run_until <- function(queue, done) {
  deadline <- Sys.time() + 60
  while (!done()) {
    queue$tick()
    if (Sys.time() > deadline) stop("not done in time")
    Sys.sleep(0.02)
  }
}

test_that("jobs run one after the other and leave their answers", {
  queue <- JobQueue$new(settings)
  jobs <- list(queue$submit(sum_of, new_folder(c(1, 2))), queue$submit(sum_of, new_folder(c(3, 4))))
  run_until(queue, function() {
    expect_lte(queue$count("running"), 1)
    queue$count("succeeded") == 2
  })
  sums <- vapply(jobs, function(job) jsonlite::fromJSON(file.path(job$folder, "answer.json"))$data$result$sum, 0)
  expect_identical(sums, c(3, 7))
})

test_that("a full queue refuses, and still knows what it took", {
  queue <- JobQueue$new(settings)
  first <- queue$submit(sum_of, new_folder(), key = "a", digest = "1")
  queue$submit(sum_of, new_folder(), key = "b", digest = "2")
  expect_error(queue$submit(sum_of, new_folder(), key = "c", digest = "3"), "try again", class = "irtcommon_refusal")
  expect_identical(queue$submit(sum_of, new_folder(), key = "a", digest = "1"), first)
  expect_error(queue$submit(sum_of, new_folder(), key = "a", digest = "9"), "another body", class = "irtcommon_refusal")
})

test_that("a cancelled job never runs, and its key is free again", {
  queue <- JobQueue$new(settings)
  job <- queue$submit(sum_of, new_folder(), key = "a")
  queue$cancel(job)
  expect_identical(job$state, "cancelled")
  expect_identical(queue$describe(job)$error$code, "cancelled")
  expect_false(identical(queue$submit(sum_of, new_folder(), key = "a"), job))
})

test_that("a job begins again until its process suits the endpoint, and is computed once, in the last at the latest", {
  starts <- tempfile()
  counting <- function(good) {
    particular <- sum_of
    particular$suits <- function() {
      cat("started\n", file = starts, append = TRUE)
      length(readLines(starts)) >= good
    }
    environment(particular$suits) <- list2env(list(starts = starts, good = good), parent = baseenv())
    particular
  }
  queue <- JobQueue$new(settings)
  job <- queue$submit(counting(3), new_folder(c(1, 2)))
  run_until(queue, function() queue$count("succeeded") == 1)
  expect_length(readLines(starts), 3)
  expect_equal(jsonlite::fromJSON(file.path(job$folder, "answer.json"))$data$result$sum, 3)
  unlink(starts)
  queue$submit(counting(Inf), new_folder())
  run_until(queue, function() queue$count("succeeded") == 2)
  expect_length(readLines(starts), 19)
})

test_that("an error while a process is looked at is the job's, in its own words", {
  broken <- sum_of
  broken$suits <- function() stop("no such package")
  environment(broken$suits) <- baseenv()
  queue <- JobQueue$new(settings)
  job <- queue$submit(broken, new_folder())
  run_until(queue, function() queue$count("failed") == 1)
  expect_identical(job$error, list(code = "defect", detail = "no such package"))
})
