package harmonic

import "strings"

// ModelEvent is the name under which Laravel's model broadcasting announces op
// on a model of the given PHP class: "TodoCreated" for App\Models\Todo. Like
// EventCreated it has no namespace.
func ModelEvent(class string, op Operation) string {
	return class[strings.LastIndexByte(class, '\\')+1:] + op.Past()
}

// ModelChannel is the channel that Laravel broadcasts a model on by default,
// without the "private-" before it: "App.Models.Todo.7" for key "7".
func ModelChannel(class, key string) string {
	return strings.ReplaceAll(strings.TrimPrefix(class, `\`), `\`, ".") + "." + key
}

// AppendModelJSON appends h to dst as the payload that Laravel's model
// broadcasting sends for a model without broadcastWith, connection and queue of
// its own: the public properties of BroadcastableModelEventOccurred.
func AppendModelJSON(dst []byte, h *Harmonic) []byte {
	dst = append(dst, `{"model":`...)
	dst = append(dst, h.Data...)
	return append(dst, `,"connection":null,"queue":null,"afterCommit":false}`...)
}
