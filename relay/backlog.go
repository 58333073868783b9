package relay

import (
	"context"
	"sync"
	"time"

	"github.com/chorusd/chorusd/binlog"
)

// Backlog knows where the server's binary log ends; see binlog.Backlog. It is
// used by one goroutine.
type Backlog interface {
	End(ctx context.Context, from binlog.Position) (binlog.LogEnd, error)
	Close()
}

// backlogInterval is the time between two looks at where the log ends.
const backlogInterval = 5 * time.Second

// logEnd is where the log ended at the last look.
type logEnd struct {
	mu  sync.Mutex
	end binlog.LogEnd
}

// watchLog asks where the log ends until ctx ends, which returns nil. That the
// server is away is said by who reads.
func (r *Relay) watchLog(ctx context.Context) error {
	defer r.backlog.Close()
	ticker := time.NewTicker(backlogInterval)
	defer ticker.Stop()
	for failing := false; ; {
		end, err := r.backlog.End(ctx, r.inbox.position())
		switch {
		case err == nil:
			r.logEnd.mu.Lock()
			r.logEnd.end = end
			r.logEnd.mu.Unlock()
			if failing {
				r.log.Info("the database server says again where its binary log ends")
			}
			failing = false
		case ctx.Err() == nil && !failing && (!binlog.Passing(err) || binlog.Refused(err)):
			failing = true
			r.log.Warn("cannot ask where the binary log ends, so chorusd_lag_bytes stands still; trying again", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// behind is how many bytes of the log there were at the last look that are not
// read by now; ok is false if that is not known.
func (r *Relay) behind() (bytes uint64, ok bool) {
	r.logEnd.mu.Lock()
	defer r.logEnd.mu.Unlock()
	return r.logEnd.end.After(r.inbox.position())
}
