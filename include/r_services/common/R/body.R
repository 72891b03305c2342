# Reads a request's body from the file that the server wrote it to. Runs in the reader, never in the server.

#' @return The body's text, unpacked.
#' @noRd
read_body <- function(file, encoding, limit) {
  bytes <- readBin(file, "raw", file.size(file))
  if (identical(encoding, "gzip")) bytes <- gunzip(bytes, limit)
  text <- tryCatch(
    rawToChar(bytes),
    error = function(error) refuse(400, "invalid_json", "the body holds a zero byte")
  )
  Encoding(text) <- "UTF-8"
  if (!validUTF8(text)) refuse(400, "invalid_json", "the body is not UTF-8")
  text
}

# gzcon() unpacks in steps, so a bomb stops at the limit, but takes damaged data for good and plain data for packed:
# the header and the trailer (RFC 1952: CRC-32 and size of the unpacked bytes) are checked here.
gunzip <- function(bytes, limit) {
  broken <- function(why) refuse(400, "invalid_gzip", why)
  size <- length(bytes)
  if (size < 18 || !identical(bytes[1:3], as.raw(c(0x1f, 0x8b, 0x08)))) broken("the body is not gzip")
  connection <- gzcon(rawConnection(bytes))
  on.exit(close(connection))
  pieces <- list()
  unpacked <- 0
  repeat {
    piece <- tryCatch(
      readBin(connection, "raw", 2^20),
      error = function(error) broken(conditionMessage(error)),
      warning = function(warning) broken(conditionMessage(warning))
    )
    if (!length(piece)) break
    unpacked <- unpacked + length(piece)
    if (unpacked > limit) {
      refuse(413, "body_too_large", sprintf("the unpacked body has more than the %.0f bytes allowed", limit))
    }
    pieces <- c(pieces, list(piece))
  }
  unpacked <- if (length(pieces)) do.call(c, pieces) else raw()
  trailer <- as.character(rev(utils::tail(bytes, 8)))
  if (length(unpacked) %% 2^32 != unsigned(trailer[1:4])) {
    broken("the body's gzip data is cut short or followed by other data")
  }
  crc <- digest::digest(unpacked, algo = "crc32", serialize = FALSE)
  if (unsigned(formatC(crc, width = 8, flag = "0")) != unsigned(trailer[5:8])) {
    broken("the body's gzip data is damaged: its CRC-32 differs")
  }
  unpacked
}

# A 32-bit number from its hexadecimal digits; strtoi() ends at 31 bits.
unsigned <- function(hex) {
  hex <- paste(hex, collapse = "")
  strtoi(substr(hex, 1, 4), 16) * 65536 + strtoi(substr(hex, 5, 8), 16)
}
