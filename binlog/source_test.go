package binlog_test

import (
	"testing"

	"github.com/chorusd/chorusd/tools/services"
	"github.com/chorusd/chorusd/tools/services/servicestest"
)

// kinds are the servers that every test of the stream runs on.
var kinds = []services.Kind{services.MySQL, services.MariaDB}

func onEach(t *testing.T, test func(t *testing.T, db *servicestest.Database)) {
	for _, kind := range kinds {
		t.Run(kind.String(), func(t *testing.T) { test(t, servicestest.NewDatabase(t, kind)) })
	}
}
