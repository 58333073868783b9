package harmonic

// AppendModelJSON appends h to dst as the payload that Laravel's model
// broadcasting sends for a model without broadcastWith, connection and queue of
// its own: the public properties of BroadcastableModelEventOccurred.
func AppendModelJSON(dst []byte, h *Harmonic) []byte {
	dst = append(dst, `{"model":`...)
	dst = append(dst, h.Data...)
	return append(dst, `,"connection":null,"queue":null,"afterCommit":false}`...)
}
