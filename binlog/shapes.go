package binlog

type shapes struct{}

func (s *shapes) text(Position) string { return "" }
