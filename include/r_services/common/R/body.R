# Reads a request's body from the file that the server wrote it to. Runs in the reader, never in the server.

#' @return The body's text, unpacked.
#' @noRd
read_body <- function(file, encoding, limit) {
  bytes <- if (identical(encoding, "gzip")) gunzip(file, limit) else readBin(file, "raw", file.size(file))
  # rawToChar() would drop zero bytes at the end.
  if (length(grepRaw(as.raw(0), bytes, fixed = TRUE))) refuse(400, "invalid_json", "the body holds a zero byte")
  text <- rawToChar(bytes)
  Encoding(text) <- "UTF-8"
  if (!validUTF8(text)) refuse(400, "invalid_json", "the body is not UTF-8")
  text
}

# gzfile() unpacks in steps, so a bomb stops at the limit, but takes plain data for packed and may take damaged data for
# good: the header and the trailer (RFC 1952: CRC-32 and size of the unpacked bytes) are checked here. Of several
# members in one file it unpacks all, and the last one's trailer does not match them.
gunzip <- function(file, limit) {
  broken <- function(why) refuse(400, "invalid_gzip", why)
  size <- file.size(file)
  raw <- file(file, "rb")
  on.exit(close(raw))
  header <- readBin(raw, "raw", 3)
  if (size < 18 || !identical(header, as.raw(c(0x1f, 0x8b, 0x08)))) broken("the body is not gzip")
  seek(raw, size - 8)
  trailer <- rev(as.character(readBin(raw, "raw", 8)))
  unpacked <- tryCatch(
    unpack(file, limit),
    warning = function(warning) broken(first_line(warning)),
    error = function(error) if (inherits(error, "irtcommon_refusal")) stop(error) else broken(first_line(error))
  )
  if (length(unpacked) %% 2^32 != unsigned(trailer[1:4])) {
    broken("the body's gzip data is cut short or followed by other data")
  }
  crc <- digest::digest(unpacked, algo = "crc32", serialize = FALSE)
  if (unsigned(formatC(crc, width = 8, flag = "0")) != unsigned(trailer[5:8])) {
    broken("the body's gzip data is damaged: its CRC-32 differs")
  }
  unpacked
}

unpack <- function(file, limit) {
  connection <- gzfile(file, "rb")
  on.exit(close(connection))
  pieces <- list()
  repeat {
    piece <- readBin(connection, "raw", 2^20)
    if (!length(piece)) break
    pieces <- c(pieces, list(piece))
    if (sum(lengths(pieces)) > limit) {
      refuse(413, "body_too_large", sprintf("the unpacked body has more than the %.0f bytes allowed", limit))
    }
  }
  if (length(pieces)) do.call(c, pieces) else raw()
}

# A 32-bit number from its hexadecimal digits; strtoi() ends at 31 bits.
unsigned <- function(hex) {
  hex <- paste(hex, collapse = "")
  strtoi(substr(hex, 1, 4), 16) * 65536 + strtoi(substr(hex, 5, 8), 16)
}
