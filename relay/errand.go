package relay

import "context"

// What is known of those who are connected, the mapper and the order of
// everything that is sent belong to the goroutine that routes. What others
// want of them is an errand: it is run between two transactions.
type errand struct {
	run  func(ctx context.Context) error
	done chan error
}

// between has an errand run and waits for it.
func (r *Relay) between(ctx context.Context, run func(ctx context.Context) error) error {
	e := errand{run, make(chan error, 1)}
	select {
	case r.errands <- e:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-e.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
