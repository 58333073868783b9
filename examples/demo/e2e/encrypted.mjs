/**
 * Listens on an encrypted channel as a page does, with Laravel Echo and pusher-js
 * as they are, and prints what comes, a line of JSON each. Started by chorusd's
 * end-to-end tests, with the Echo options and the channel as JSON.
 *
 * A page imports Pusher from 'pusher-js/with-encryption'; pusher-js for Node is
 * always the one with encryption.
 */
import Echo from 'laravel-echo';
import Pusher from 'pusher-js';

const { channel, ...options } = JSON.parse(process.argv[2] ?? '');

/** @param {{ event: string, data?: unknown }} line */
const print = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

/**
 * Prints the events of a name.
 * @param {string} event
 * @returns {(data: unknown) => void}
 */
const printed = (event) => (data) => print({ event, data });

new Echo({ ...options, Pusher })
  .encryptedPrivate(channel)
  .listen('.harmonic.created', printed('harmonic.created'))
  .listen('.chorusd.control', printed('chorusd.control'))
  .subscribed(() => print({ event: 'subscribed' }))
  .error(printed('error'));

process.stdin.on('end', () => process.exit()).resume(); // with the test
