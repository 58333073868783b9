package policy

import "testing"

// Whatever bytes an answer has, who gets a yes has a y at his place.
func FuzzReply(f *testing.F) {
	for _, body := range []string{
		`{"version":1,"answers":["yn?"]}`, `{"version":1,"answers":["yyy"],"message":"m"}`, `{"version":1,"answers":["y"]}`,
		`{"version":1,"answers":null}`, `{"Version":1,"ANSWERS":["nnn"]}`, `{"version":1,"answers":["yÿ"]}`, "[]", "",
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		const users = 3
		r, err := readReply(body, 1)
		if err != nil {
			return
		}
		answers, err := readLetters(r.Answers[0], users)
		if len(answers) != users {
			t.Fatalf("%d answers", len(answers))
		}
		for i, a := range answers {
			if a == Yes && (err != nil || r.Answers[0][i] != letterYes) {
				t.Errorf("%q is read as %v, %v", body, answers, err)
			}
		}
	})
}
