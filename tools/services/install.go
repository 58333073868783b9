package services

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// Install installs what is missing of kinds and reports on progress, a line
// when something begins and a line when it is done. Kinds that are installed
// cost nothing, and several processes may install at the same time.
//
// If the machine lacks something that is needed, nothing is installed, and the
// error, a [*RequirementsError], names all that is lacking.
func Install(ctx context.Context, progress io.Writer, kinds ...Kind) error {
	var missing []Kind
	for _, k := range kinds {
		if !Installed(k) {
			missing = append(missing, k)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	if err := thisMachine(ctx).check(missing); err != nil {
		return err
	}
	var mu sync.Mutex
	say := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(progress, format+"\n", args...)
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, k := range missing {
		group.Go(func() error {
			begin := time.Now()
			say("installing %v …", k)
			if err := install(ctx, k); err != nil {
				return fmt.Errorf("install %v: %w", k, err)
			}
			say("installed %v in %.0f s", k, time.Since(begin).Seconds())
			return nil
		})
	}
	return group.Wait()
}

func install(ctx context.Context, k Kind) error {
	switch k {
	case Soketi:
		_, err := cached(ctx, soketiFolder(), func(dir string) error { return installSoketi(ctx, dir) })
		return err
	case Chromium, PerconaToolkit:
		return installPackage(ctx, systemPackages[k])
	}
	tree, ok := debianTrees[k]
	if !ok {
		return errors.New("unknown kind")
	}
	if _, err := cached(ctx, tree.folder, func(dir string) error { return tree.install(ctx, dir) }); err != nil {
		return err
	}
	if !k.IsSQL() {
		return nil
	}
	prog, err := locate(k)
	if err != nil {
		return err
	}
	_, err = sqlTemplate(ctx, k, prog)
	return err
}

// installPackage installs a package of the machine's own Debian.
func installPackage(ctx context.Context, name string) error {
	apt := func(args ...string) error {
		return run(ctx, "apt-get", append([]string{"--quiet", "--yes", "-o", "DPkg::Lock::Timeout=300"}, args...)...)
	}
	install := func() error { return apt("install", "--no-install-recommends", name) }
	if err := install(); err == nil {
		return nil
	}
	// The package lists are absent or too old.
	return errors.Join(apt("update"), install())
}

// stopAfter stops s because of err, and returns err.
func stopAfter(err error, s *Server) error { return errors.Join(err, s.Stop()) }
