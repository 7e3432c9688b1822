/**
 * ONNX Runtime for Node would keep a device identifier in the user's home and send what it runs to its maker. Nothing
 * that this package does may leave the machine, so it is told not to before it is loaded.
 */
if (typeof process !== 'undefined') process.env.ORT_DISABLE_TELEMETRY ??= '1'
