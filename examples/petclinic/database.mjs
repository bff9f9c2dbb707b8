// The clinic's data in a MySQL-protocol database, named as Spring names it: jdbc:mysql://host[:port]/database.
import mysql from 'mysql2/promise'
import { OWNERS, VETS } from './data.mjs'

const SCHEMA = [
  'CREATE TABLE IF NOT EXISTS owners (id INT AUTO_INCREMENT PRIMARY KEY, first_name VARCHAR(30), last_name VARCHAR(30), address VARCHAR(255), city VARCHAR(80), telephone VARCHAR(20), UNIQUE (first_name, last_name))',
  'CREATE TABLE IF NOT EXISTS pets (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(30), owner_id INT NOT NULL, UNIQUE (owner_id, name))',
  'CREATE TABLE IF NOT EXISTS vets (id INT AUTO_INCREMENT PRIMARY KEY, first_name VARCHAR(30), last_name VARCHAR(30), UNIQUE (first_name, last_name))',
  'CREATE TABLE IF NOT EXISTS specialties (vet_id INT NOT NULL, name VARCHAR(80), UNIQUE (vet_id, name))',
]

export function openDatabase(env) {
  const url = env.DATASOURCE_URL ?? env.MYSQL_URL ?? 'jdbc:mysql://localhost/petclinic'
  const match = /^jdbc:(?:mysql|mariadb):\/\/([^:/?]+)(?::(\d+))?\/([^?]+)/.exec(url)
  if (!match) throw new Error(`cannot read DATASOURCE_URL "${url}": write jdbc:mysql://host[:port]/database`)
  const pool = mysql.createPool({
    host: match[1],
    port: Number(match[2] ?? 3306),
    database: match[3],
    user: env.DATASOURCE_USERNAME ?? 'root',
    password: env.DATASOURCE_PASSWORD ?? '',
    connectionLimit: 5,
    connectTimeout: 3000,
  })
  let ready
  const initialise = async () => {
    if (env.DATASOURCE_INIT_MODE === 'never') return
    for (const statement of SCHEMA) await pool.query(statement)
    for (const o of OWNERS) {
      await pool.execute(
        'INSERT IGNORE INTO owners (first_name, last_name, address, city, telephone) VALUES (?, ?, ?, ?, ?)',
        [o.firstName, o.lastName, o.address, o.city, o.telephone],
      )
      for (const pet of o.pets)
        await pool.execute(
          'INSERT IGNORE INTO pets (name, owner_id) SELECT ?, id FROM owners WHERE first_name = ? AND last_name = ?',
          [pet, o.firstName, o.lastName],
        )
    }
    for (const v of VETS) {
      await pool.execute('INSERT IGNORE INTO vets (first_name, last_name) VALUES (?, ?)', [v.firstName, v.lastName])
      for (const s of v.specialties)
        await pool.execute(
          'INSERT IGNORE INTO specialties (vet_id, name) SELECT id, ? FROM vets WHERE first_name = ? AND last_name = ?',
          [s, v.firstName, v.lastName],
        )
    }
  }
  /** The tables are made with the first question that reaches the database. */
  const query = async (sql) => {
    ready ??= initialise().catch((error) => {
      ready = undefined
      throw error
    })
    await ready
    const [rows] = await pool.query(sql)
    return rows
  }
  const names = (text) => (text ? text.split(',') : [])
  return {
    name: `mysql at ${match[1]}`,
    owners: async () =>
      (
        await query(
          'SELECT o.first_name, o.last_name, o.address, o.city, o.telephone, GROUP_CONCAT(p.name) AS pets FROM owners o LEFT JOIN pets p ON p.owner_id = o.id GROUP BY o.id ORDER BY o.id',
        )
      ).map((r) => ({
        firstName: r.first_name,
        lastName: r.last_name,
        address: r.address,
        city: r.city,
        telephone: r.telephone,
        pets: names(r.pets),
      })),
    vets: async () =>
      (
        await query(
          'SELECT v.first_name, v.last_name, GROUP_CONCAT(s.name) AS specialties FROM vets v LEFT JOIN specialties s ON s.vet_id = v.id GROUP BY v.id ORDER BY v.id',
        )
      ).map((r) => ({ firstName: r.first_name, lastName: r.last_name, specialties: names(r.specialties) })),
  }
}
