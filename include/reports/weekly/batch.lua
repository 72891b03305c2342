-- Converts many documents in one process: `pandoc lua batch.lua FORMAT TEMPLATE FILTER STYLE`, with one line
-- `source<TAB>target` a document on standard input. Starting pandoc takes longer than converting a learner's page.
local format, template_path, filter_path, style_path = table.unpack(arg)

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read("a")
  file:close()
  return text
end

local options = {
  template = pandoc.template.compile(read(template_path)),
  variables = { ["header-includes"] = style_path and read(style_path) or "" },
  wrap_text = "none",
}
FORMAT = format
dofile(filter_path)
local filter = { Div = Div, Span = Span, Link = Link, Str = Str }

for line in io.lines() do
  local source, target = line:match("^(.-)\t(.*)$")
  local document = pandoc.read(read(source), "markdown"):walk(filter)
  local file = assert(io.open(target, "wb"))
  assert(file:write(pandoc.write(document, format, options)))
  assert(file:close())
  io.stdout:write(target, "\n")
  io.stdout:flush()
end
