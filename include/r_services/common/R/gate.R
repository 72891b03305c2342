# What is decided from a request's headers alone, before its body is received.

open_paths <- c("/health", "/ready", "/metrics", "/openapi.json")

token_digest <- function(token) openssl::sha256(charToRaw(token))

# Every byte of two digests is compared, so that the time taken says nothing about the token.
same_digest <- function(one, other) sum(xor(one, other) != 0) == 0

authorized <- function(header, digest) {
  scheme <- "^Bearer +"
  if (is.null(header) || !grepl(scheme, header, ignore.case = TRUE)) return(FALSE)
  same_digest(token_digest(sub(scheme, "", header, ignore.case = TRUE)), digest)
}

#' Raise a refusal where a request's headers already decide it
#'
#' @param request Rook environment: method, path and headers.
#' @noRd
check_headers <- function(request, settings, draining) {
  if (request$PATH_INFO %in% open_paths) return(invisible())
  if (!authorized(request$HTTP_AUTHORIZATION, settings$token_digest)) {
    refuse(401, "unauthorized", "expected the header Authorization: Bearer and this service's token")
  }
  if (request$REQUEST_METHOD != "POST") return(invisible())
  if (draining) refuse(503, "draining", "the service is stopping")
  check_body_headers(request, settings$body_bytes)
  key <- request$HTTP_IDEMPOTENCY_KEY
  if (!is.null(key) && !grepl("^[!-~]{1,200}$", key)) {
    refuse(400, "invalid_header", "Idempotency-Key: expected 1 to 200 printable characters")
  }
  invisible()
}

check_body_headers <- function(request, body_bytes) {
  size <- request$HTTP_CONTENT_LENGTH
  if (is.null(size) || !grepl("^[0-9]{1,15}$", size)) {
    refuse(411, "length_required", "expected the header Content-Length")
  }
  if (as.numeric(size) > body_bytes) {
    detail <- sprintf("the body has %s bytes; expected at most %.0f", size, body_bytes)
    refuse(413, "body_too_large", detail)
  }
  type <- tolower(trimws(sub(";.*", "", header_or(request$HTTP_CONTENT_TYPE, ""))))
  encoding <- body_encoding(request)
  if (type != "application/json" || !encoding %in% c("identity", "gzip")) {
    refuse(415, "unsupported_media_type", "expected Content-Type: application/json, plain or Content-Encoding: gzip")
  }
  invisible()
}

body_encoding <- function(request) tolower(trimws(header_or(request$HTTP_CONTENT_ENCODING, "identity")))

header_or <- function(value, otherwise) if (is.null(value)) otherwise else value
