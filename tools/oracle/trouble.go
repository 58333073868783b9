package oracle

import "fmt"

// trouble has chorusd killed, or Redis away: never both, since chorusd does
// not start without Redis.
func (r *Run) trouble() {
	switch {
	case r.downs > 0:
		if r.downs--; r.downs == 0 {
			r.start()
		}
	case r.away > 0:
		if r.away--; r.away == 0 {
			r.redis(true)
		}
	case r.chance(r.pace.Kills):
		r.kill()
		r.downs = 1 + r.rand.IntN(20)
	case r.does.Outages && r.chance(r.pace.Outages):
		r.Count.Outages++
		r.redis(false)
		r.away = 1 + r.rand.IntN(50)
	}
}

func (r *Run) kill() {
	r.Count.Kills++
	r.daemon.Kill()
	r.log.note(r.history.point, "chorusd is killed")
}

func (r *Run) start() {
	r.daemon.Start()
	r.anew = r.history.point
	r.log.note(r.history.point, "chorusd is started")
}

func (r *Run) redis(there bool) {
	r.daemon.Redis(there)
	r.anew = r.history.point // its leases may have ended
	r.log.note(r.history.point, fmt.Sprintf("Redis is there: %v", there))
}

// interrupted is how many of the pauses begin with a kill while refills are
// under way, where there are any.
const interrupted = 0.2
