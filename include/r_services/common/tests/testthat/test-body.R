packed_file <- function(bytes, edit = identity) {
  path <- tempfile()
  connection <- gzfile(path, "wb")
  writeBin(bytes, connection)
  close(connection)
  writeBin(edit(readBin(path, "raw", file.size(path))), path)
  path
}

code_of <- function(expression) {
  tryCatch(
    {
      expression
      "read"
    },
    irtcommon_refusal = function(refusal) refusal$errors[[1]]$code
  )
}

test_that("a packed body is unpacked up to the limit", {
  bytes <- charToRaw(strrep("{} ", 1e5))
  expect_identical(gunzip(packed_file(bytes), 3e5), bytes)
  expect_identical(code_of(gunzip(packed_file(bytes), 3e5 - 1)), "body_too_large")
})

test_that("damage anywhere is noticed", {
  set.seed(1)
  bytes <- as.raw(sample(0:255, 2000, replace = TRUE))
  size <- file.size(packed_file(bytes))
  flip <- function(at) function(packed) replace(packed, at, xor(packed[at], as.raw(1)))
  for (at in c(1, 3, seq(20, size, by = 97), size - 0:7)) {
    expect_identical(code_of(gunzip(packed_file(bytes, flip(at)), 1e6)), "invalid_gzip")
  }
  for (kept in c(0, 5, 17, size %/% 2, size - 8, size - 1)) {
    cut <- function(packed) utils::head(packed, kept)
    expect_identical(code_of(gunzip(packed_file(bytes, cut), 1e6)), "invalid_gzip")
  }
  expect_identical(code_of(gunzip(packed_file(bytes, function(packed) c(packed, packed)), 1e6)), "invalid_gzip")
})
