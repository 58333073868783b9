-- Does nothing beyond what guard.lua does.
return false
