package relay

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/harmonic"
)

func point(offset int) binlog.Point {
	return binlog.Point{Time: uint64(offset), File: "log.000001", Offset: uint64(offset)}
}

// TestLedgerNeverPassesAnUnsettledPage holds random orders of acknowledgement
// against the rule: the position is the end of the last transaction before the
// first that is open or has something pending.
func TestLedgerNeverPassesAnUnsettledPage(t *testing.T) {
	type transaction struct {
		pending []*page
		closed  bool
		end     int
	}
	random := newRandom(t)
	for range 200 {
		l := newLedger(position(0), 0)
		var log []*transaction
		idle := 0 // where the log was read to when all was settled
		check := func() {
			t.Helper()
			want := 0
			i := 0
			for ; i < len(log) && log[i].closed && len(log[i].pending) == 0; i++ {
				want = log[i].end
			}
			want = max(want, idle)
			at, seq := l.settled()
			if at != position(want).String() {
				t.Fatalf("settled up to %s, want %d", at, want)
			}
			if i > 0 && int(seq) != log[i-1].end {
				t.Fatalf("the last position is %d, want %d", seq, log[i-1].end)
			}
		}
		offset := 0
		for range 100 {
			open := len(log) > 0 && !log[len(log)-1].closed
			switch op := random.IntN(10); {
			case op < 4: // a harmonic
				if !open {
					log = append(log, &transaction{})
				}
				p := l.current(1)
				p.add()
				tx := log[len(log)-1]
				tx.pending = append(tx.pending, p)
			case op < 6: // a commit, perhaps of a transaction without harmonics
				if !open {
					log = append(log, &transaction{})
				}
				offset++
				tx := log[len(log)-1]
				tx.closed, tx.end = true, offset
				if err := l.commit(t.Context(), point(offset), harmonic.Seq(offset)); err != nil {
					t.Fatal(err)
				}
			case op < 7 && !open:
				offset++
				l.idle(point(offset))
				if !slices.ContainsFunc(log, func(tx *transaction) bool { return len(tx.pending) > 0 }) {
					idle = offset
				}
			default: // an acknowledgement of any of them
				for _, i := range random.Perm(len(log)) {
					if tx := log[i]; len(tx.pending) > 0 {
						tx.pending[0].ack()
						tx.pending = tx.pending[1:]
						break
					}
				}
			}
			check()
		}
	}
}

func TestIdleIsNotedOnlyWhenAllIsSettled(t *testing.T) {
	l := newLedger(position(0), 0)
	p := l.current(1)
	p.add()
	if err := l.commit(t.Context(), point(1), 5); err != nil {
		t.Fatal(err)
	}
	l.idle(point(2))
	if at, seq := l.settled(); at != position(0).String() || seq != 0 {
		t.Errorf("settled up to %s, %d with something pending", at, seq)
	}
	p.ack()
	l.idle(point(3))
	if at, seq := l.settled(); at != position(3).String() || seq != 5 {
		t.Errorf("settled up to %s, %d, want 3 and 5", at, seq)
	}
}

func TestOldestIsTheAgeOfWhatIsUnsettled(t *testing.T) {
	l := newLedger(position(0), 0)
	if _, ok := l.oldest(); ok {
		t.Error("an empty ledger has an oldest transaction")
	}
	l.current(7).add()
	if at, ok := l.oldest(); !ok || !at.Equal(time.UnixMicro(7)) {
		t.Errorf("the oldest is of %s, %v", at, ok)
	}
}

// TestCommitWaitsBehindTooManyPages: one transaction that cannot be published
// does not have the memory of all that follow it grow without end.
func TestCommitWaitsBehindTooManyPages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(position(0), 0)
		first := l.current(1)
		first.add()
		for n := range pagesKept {
			if err := l.commit(t.Context(), point(n+1), 1); err != nil {
				t.Fatal(err)
			}
		}
		committed := make(chan error, 1)
		go func() { committed <- l.commit(t.Context(), point(pagesKept+1), 1) }()
		synctest.Wait()
		select {
		case err := <-committed:
			t.Errorf("a commit did not wait: %v", err)
		default:
		}
		first.ack()
		if err := <-committed; err != nil {
			t.Error(err)
		}
		if at, _ := l.settled(); at != position(pagesKept+1).String() {
			t.Errorf("settled up to %s", at)
		}
	})
}

func TestDrainedWaitsForClosedPagesOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(position(0), 0)
		closed := l.current(1)
		closed.add()
		if err := l.commit(t.Context(), point(1), 1); err != nil {
			t.Fatal(err)
		}
		l.current(2).add() // of a transaction that will not be read to its end
		done := make(chan struct{})
		go func() {
			l.drained(t.Context())
			close(done)
		}()
		synctest.Wait()
		select {
		case <-done:
			t.Error("it did not wait")
		default:
		}
		closed.ack()
		<-done

		timeout, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		late := newLedger(position(0), 0)
		late.current(1).add()
		if err := late.commit(timeout, point(1), 1); err != nil {
			t.Fatal(err)
		}
		late.drained(timeout)
		if !errors.Is(timeout.Err(), context.DeadlineExceeded) {
			t.Error("it did not wait as long as it could")
		}
	})
}
